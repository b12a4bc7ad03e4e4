# both nodes, every night
rsync -az --delete --exclude-from=/etc/mi/exclude --bwlimit=2000 /opt/wso2mi/repository/deployment/server/ wso2@mi-1:/opt/wso2mi/repository/deployment/server/
rsync -az --delete --exclude-from=/etc/mi/exclude --bwlimit=2000 /opt/wso2mi/repository/deployment/server/ \
      wso2@mi-2:/opt/wso2mi/repository/deployment/server/
